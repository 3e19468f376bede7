/** A template did what Python would not do, or more than one rendering may. The message is for the caller of the API. */
export class TemplateFailure extends Error {
  override readonly name = 'TemplateFailure'
}
