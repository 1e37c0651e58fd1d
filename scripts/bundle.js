'use strict';
// Makes dist/ of what tsc has checked: the library, the command and what the command runs elsewhere, in few
// files. To find, read and compile a file costs Node more than what most of ours hold: in few they load in half
// of the instructions. Types stay one file for each source, as tsc wrote them.

const fs = require('node:fs');
const path = require('node:path');

const { rollup } = require('rollup');
const ts = require('typescript');

const root = path.dirname(__dirname);
const lib = path.join(root, 'lib');
const dist = path.join(root, 'dist');

/** What a program or a person names; everything else is in chunks that these share. */
const ENTRIES = ['index', 'cli/main', 'cli/vm', 'trace/inside'];

const COMPILER = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  isolatedModules: true,
  removeComments: true, // the sources are in the package
  sourceMap: true,
};

/** Imports name the file that will be; types were checked before. */
const typescript = {
  name: 'typescript',
  resolveId(name, importer) {
    if (!name.startsWith('.') || importer === undefined) return null;
    return path.resolve(path.dirname(importer), name.replace(/\.js$/, '.ts'));
  },
  transform(source, fileName) {
    const { outputText, sourceMapText } = ts.transpileModule(source, {
      fileName,
      compilerOptions: COMPILER,
    });
    return { code: outputText, map: JSON.parse(sourceMapText) };
  },
};

/** What many a program never comes to need of Node, and what takes long to load. */
const HEAVY = "require\\('(node:(?:child_process|crypto|fs/promises|net|os|vm|zlib))'\\)";

const escapeUnit = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** Loads those when something of theirs is asked for; nothing of ours may need it sooner. */
const later = {
  name: 'later',
  renderChunk(source) {
    const code = source.replace(
      new RegExp(`^(?:var|const) (\\S+) = ${HEAVY};$`, 'gm'),
      "var $1 = new Proxy({}, { get: (_, property) => require('$2')[property] });",
    );
    const atOnce = new RegExp(`^(?!.*new Proxy).*${HEAVY}.*$`, 'm').exec(code);
    if (atOnce) this.error(`this is loaded at once: ${atOnce[0]}`);
    const raw = /\\[^\0-\x7f]|String\.raw/.exec(code);
    if (raw) this.error(`an escape here would not be one: ${raw[0]}`);
    const ascii = code.replace(/[^\0-\x7f]/g, escapeUnit); // one other makes V8 keep two bytes of each
    return { code: ascii, map: null }; // each line stays where it is
  },
};

/** The types of the sources that are there now: of a removed one the compiled files stay. */
function copyTypes() {
  const sources = fs.readdirSync(lib, { recursive: true }).filter((file) => file.endsWith('.ts'));
  for (const source of sources) {
    const types = source.replace(/\.ts$/, '.d.ts');
    fs.cpSync(path.join(root, 'out/lib', types), path.join(dist, types));
  }
}

async function main() {
  const bundle = await rollup({
    input: Object.fromEntries(ENTRIES.map((name) => [name, path.join(lib, `${name}.ts`)])),
    external: (name) => name.startsWith('node:') || name === 'bindings',
    plugins: [typescript, later],
    treeshake: { moduleSideEffects: 'no-external' },
  });
  fs.rmSync(dist, { recursive: true, force: true });
  copyTypes();
  await bundle.write({
    dir: dist,
    format: 'cjs',
    interop: 'default',
    hoistTransitiveImports: false,
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name].js',
    sourcemap: true,
    sourcemapExcludeSources: true,
  });
  await bundle.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
