import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { formatSources, readSystemSources } from '../../../deploy/setup/apt-sources.mjs'
import { cacheFolder } from '../../../deploy/setup/cache-folder.mjs'
import { runTool } from '../../../deploy/setup/child-process.mjs'
import { withFileLock } from '../../../deploy/setup/file-lock.mjs'

/** Why there is no Redis for tests. */
export interface MissingRedis { readonly missing: string }

/** A program that is a Redis, and the environment that it needs. */
export interface RedisProgram {
  readonly command: string
  readonly env: Readonly<Record<string, string>>
}

/** The `redis-server` of the PATH, else Debian's in a folder of our own: no root, no change to the system, no service. */
export async function redisProgram (): Promise<RedisProgram | MissingRedis> {
  if ((await runTool('redis-server', ['--version'])).code === 0) return { command: 'redis-server', env: {} }
  try {
    return await privateRedis()
  } catch (error) {
    return { missing: `no redis-server on the PATH, and its package cannot be had: ${error instanceof Error ? error.message : String(error)}` }
  }
}

async function privateRedis (): Promise<RedisProgram> {
  const folder = cacheFolder('redis')
  const root = join(folder, 'root')
  await withFileLock(join(folder, 'lock'), async () => {
    if (existsSync(root)) return
    const work = join(folder, 'work')
    await unpack(await download(work), join(work, 'root'))
    renameSync(join(work, 'root'), root)
    rmSync(work, { recursive: true, force: true })
  })
  // Under its own name: `redis-server` is a link to it.
  const command = join(root, 'usr', 'bin', 'redis-check-rdb')
  const env = { LD_LIBRARY_PATH: [...libraryFolders(join(root, 'usr', 'lib')), process.env['LD_LIBRARY_PATH'] ?? ''].filter(path => path !== '').join(delimiter) }
  return { command, env }
}

/** The package and what it needs and this system lacks, from the system's own mirrors. */
async function download (work: string): Promise<string[]> {
  const archives = join(work, 'archives')
  for (const folder of [join(work, 'lists', 'partial'), join(archives, 'partial')]) mkdirSync(folder, { recursive: true })
  writeFileSync(join(work, 'system.sources'), formatSources(readSystemSources()))
  const options = Object.entries({
    'Dir::State': work,
    'Dir::State::Lists': join(work, 'lists'),
    'Dir::State::status': '/var/lib/dpkg/status',
    'Dir::Cache': work,
    'Dir::Cache::Archives': archives,
    'Dir::Etc::SourceList': join(work, 'system.sources'),
    'Dir::Etc::SourceParts': '/dev/null',
    'APT::Sandbox::User': '',
    'APT::Update::Post-Invoke': '',
    'APT::Update::Post-Invoke-Success': '',
    'APT::Install-Recommends': 'false',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    'Acquire::http::Timeout': '30',
    'Debug::NoLocking': 'true'
  }).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  await apt([...options, '-qq', '--error-on=any', 'update'])
  await apt([...options, '-qq', '-y', '--download-only', 'install', 'redis-server'])
  return readdirSync(archives).filter(name => name.endsWith('.deb')).map(name => join(archives, name))
}

async function apt (args: readonly string[]): Promise<void> {
  await tool('apt-get', args)
}

async function unpack (packages: readonly string[], root: string): Promise<void> {
  rmSync(root, { recursive: true, force: true })
  mkdirSync(root, { recursive: true })
  for (const file of packages) await tool('dpkg-deb', ['--extract', file, root])
}

async function tool (command: string, args: readonly string[]): Promise<void> {
  const { code, output } = await runTool(command, args, { env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' } })
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${output.trim().split('\n').slice(-3).join(' / ')}`)
}

/** `usr/lib/x86_64-linux-gnu` and its like. */
function libraryFolders (folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).filter(entry => entry.isDirectory()).map(({ name }) => join(folder, name))
}
