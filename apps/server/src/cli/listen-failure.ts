/** The address to listen on cannot be had. */
export class AddressError extends Error {
  override readonly name = 'AddressError'
  readonly code = 'CLI_ADDRESS'
  readonly details: { readonly host: string, readonly port: number }

  constructor (message: string, details: AddressError['details'], options?: ErrorOptions) {
    super(message, options)
    this.details = details
  }
}

/** What a failed `listen` means for whoever typed the command. */
export function listenFailure (error: Error, host: string, port: number): AddressError {
  const code = 'code' in error ? error.code : undefined
  return new AddressError(sentence(code, error, host, port), { host, port }, { cause: error })
}

function sentence (code: unknown, error: Error, host: string, port: number): string {
  switch (code) {
    case 'EADDRINUSE': return `port ${port} on ${host} is in use; choose another with --port, or stop what listens there`
    case 'EACCES': return `listening on port ${port} is not permitted; choose one from 1024 on with --port`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND': return `${host} is not an address of this machine; choose another with --host`
    default: return `cannot listen on ${host} port ${port}: ${error.message}`
  }
}
