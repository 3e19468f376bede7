/** One downloaded model: a snapshot of a Hub repository, or an alias's folder. */
export interface CachedModel {
  /** What `--model` takes, without a revision. */
  readonly name: string
  readonly origin: 'hub' | 'alias'
  /** Full commit; undefined of an alias, and of a repository of which no file is whole yet. */
  readonly commit: string | undefined
  /** Branches and tags that stand for the commit here. */
  readonly refs: readonly string[]
  /** On disk. What revisions share counts for each; what an unfinished download left counts once, for the repository's newest revision. */
  readonly bytes: number
  readonly lastModified: Date
  /** As the file system knows it; some record it once a day, some never. */
  readonly lastUsed: Date
  /** What it lacks to be served; empty when it is whole. */
  readonly missing: readonly string[]
  /** Absolute: the snapshot's, the repository's or the alias's folder. */
  readonly path: string
}
