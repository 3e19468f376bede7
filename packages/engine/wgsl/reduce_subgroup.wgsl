// reduce_subgroup — sum and maximum over a workgroup of one dimension, any subgroup size: subgroups first, then their results
// by one thread in order, so that the result depends on the values alone. Every thread must call, and gets the result.
var<workgroup> reduce_partial: array<f32, 256>;

fn workgroup_sum(value: f32, thread: u32, threads: u32) -> f32 {
  let size = subgroupAdd(1u);
  let part = subgroupAdd(value);
  let parts = (threads + size - 1u) / size;
  workgroupBarrier();
  if (thread % size == 0u) { reduce_partial[thread / size] = part; }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < parts; i++) { total += reduce_partial[i]; }
  return total;
}

fn workgroup_max(value: f32, thread: u32, threads: u32) -> f32 {
  let size = subgroupAdd(1u);
  let part = subgroupMax(value);
  let parts = (threads + size - 1u) / size;
  workgroupBarrier();
  if (thread % size == 0u) { reduce_partial[thread / size] = part; }
  workgroupBarrier();
  var total = reduce_partial[0];
  for (var i = 1u; i < parts; i++) { total = max(total, reduce_partial[i]); }
  return total;
}
