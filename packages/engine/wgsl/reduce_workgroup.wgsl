// reduce_workgroup — sum and maximum over a workgroup of one dimension (a power of two) on adapters without subgroups:
// a tree through workgroup memory. Every thread must call, and gets the result.
var<workgroup> reduce_partial: array<f32, 1024>;

fn workgroup_sum(value: f32, thread: u32, threads: u32) -> f32 {
  workgroupBarrier();
  reduce_partial[thread] = value;
  for (var half = threads >> 1u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (thread < half) { reduce_partial[thread] += reduce_partial[thread + half]; }
  }
  workgroupBarrier();
  return reduce_partial[0];
}

fn workgroup_max(value: f32, thread: u32, threads: u32) -> f32 {
  workgroupBarrier();
  reduce_partial[thread] = value;
  for (var half = threads >> 1u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (thread < half) { reduce_partial[thread] = max(reduce_partial[thread], reduce_partial[thread + half]); }
  }
  workgroupBarrier();
  return reduce_partial[0];
}
