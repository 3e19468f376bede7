/** Any array of real numbers the references read. They write Float64Array only. */
export type RealArray = Float64Array | Float32Array
