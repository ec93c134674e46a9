import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** A file of `src/` that plain Node can run. */
export interface Compiled {
  /** Of the module, for an import. */
  readonly url: string
  remove(): Promise<void>
}

/**
 * Compiles a file of `src/` and all that it imports there, so that a child process can run it as it is now.
 */
export async function compiled(file: string): Promise<Compiled> {
  const directory = join(root, '.build/children', `${process.pid}`)
  const done = new Set<string>()
  const compile = async (name: string): Promise<void> => {
    if (done.has(name)) return
    done.add(name)
    const text = await readFile(join(root, 'src', name), 'utf8')
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, verbatimModuleSyntax: true }
    })
    const path = join(directory, name.replace(/\.ts$/, '.js'))
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, outputText)
    for (const { fileName } of ts.preProcessFile(outputText, true, true).importedFiles) {
      if (fileName.startsWith('.')) await compile(join(dirname(name), fileName.replace(/\.js$/, '.ts')))
    }
  }
  await compile(file)
  return {
    url: pathToFileURL(join(directory, file.replace(/\.ts$/, '.js'))).href,
    remove: () => rm(directory, { recursive: true, force: true })
  }
}
