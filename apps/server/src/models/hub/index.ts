export { HubError, type HubErrorCode } from './errors.ts'
export { formatHubReference, isCommit, parseHubReference, type HubReference } from './hub-reference.ts'
export { readHubSettings, type HubSettings } from './hub-settings.ts'
export { resolveHubModel, type HubModel, type ResolveHubOptions } from './resolve-hub-model.ts'
