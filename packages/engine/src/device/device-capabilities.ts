/** What kernels may rely on; read from the device's features, never from the toggles that asked for them. */
export interface DeviceCapabilities {
  readonly f16: boolean
  readonly subgroups: boolean
  readonly timestamps: boolean
  /** f16 × f16 → f32 tensor-core products of 16 × 16 × 16 tiles. */
  readonly subgroupMatrix: boolean
  /** f16 × f16 → f32 tensor-core products of 16 × 8 × 16, for eight rows. */
  readonly narrowMatrix?: boolean
  /** K of the i8 × i8 → i32 tensor-core products of 16 × 16 tiles; undefined: there are none. */
  readonly int8MatrixDepth?: 16 | 32 | undefined
  readonly software: boolean
  /** Bytes one binding may span. */
  readonly maxBindingBytes: number
  readonly maxWorkgroupThreads: number
  readonly maxWorkgroupBytes: number
}
