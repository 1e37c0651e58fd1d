import eslint from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Rooms and single files of lib/ that anyone may import: they touch nothing. */
const EVERYONE = ['uapi', 'errors.js', 'undo.js', 'observe.js', 'listeners.js'];

/**
 * Who may import whom: for each room of lib/, the rooms (or single files) that it builds upon. The
 * order is that of the layers, lowest first.
 */
const ZONES = {
  uapi: [],
  memory: [...EVERYONE],
  ring: [...EVERYONE, 'memory'],
  offload: [...EVERYONE, 'ring/net-header.js', 'ring/header-fault.js'],
  sys: [...EVERYONE, 'native.js'],
  backend: [...EVERYONE, 'sys'],
  dataplane: [...EVERYONE, 'sys', 'backend', 'memory'],
  // A port also makes the backend that its options describe, and its own arena.
  port: [
    ...EVERYONE,
    'dataplane',
    'ring',
    'offload',
    'memory',
    'backend',
    'sys/pages.js',
    'sys/worker-thread.js',
  ],
  // Joins ports that somebody else opened: what they look like is all it needs.
  switch: [...EVERYONE, 'port'],
  // The guest is the driver there; the control queue alone is served by us. Like a port, a machine
  // makes the backends that its options describe.
  vmm: [
    ...EVERYONE,
    'cache-folder.js',
    'dataplane',
    'backend',
    'sys',
    'memory',
    'ring/device-queue.js',
  ],
  // Looks at everything that a port would use, by using it.
  capabilities: [...EVERYONE, 'sys'],
  // A command is a user of the package like any other, and so is what one of them is made of.
  trace: ['index.js'],
  cli: ['index.js'],
};

const escape = (text) => text.replaceAll('.', '\\.');

/** Matches every path upwards that leads elsewhere than to the rooms and files named. */
function othersThan(allowed) {
  const ways = allowed.map((name) => (name.endsWith('.js') ? `${escape(name)}$` : `${name}/`));
  return ways.length === 0 ? '^\\.\\./' : `^\\.\\./(?!${ways.join('|')})`;
}

/** The rule for the files of one room. The addon itself is loaded by lib/native.ts alone. */
function restrictedImports(allowed, room) {
  const inside = room === undefined ? 'this file' : `lib/${room}`;
  const may = allowed.length === 0 ? 'nothing' : allowed.join(', ');
  return [
    'error',
    {
      paths: [{ name: 'bindings', message: 'Only lib/native.ts touches the binary.' }],
      patterns: [
        { regex: othersThan(allowed), message: `${inside} may import ${may} (and its own room).` },
        { regex: '^#lib/', message: 'Inside lib/ paths are relative.' },
        { regex: '\\.node$', message: 'Only lib/native.ts touches the binary.' },
      ],
    },
  ];
}

const zones = Object.entries(ZONES).map(([room, allowed]) => ({
  name: `vhost-net/zone/${room}`,
  files: [`lib/${room}/**/*.ts`],
  rules: { 'no-restricted-imports': restrictedImports(allowed, room) },
}));

const ATOMICS = {
  name: 'Atomics',
  message: 'Barriers are the business of lib/memory/ordering.ts alone.',
};

const EXPORTED_ENUM = {
  selector: 'ExportNamedDeclaration > TSEnumDeclaration',
  message: 'An enum is an object at run time and breaks under isolatedModules: use constants.',
};

/** What the Node that runs the linter has, for files that no compiler looks at. */
const nodeGlobals = Object.fromEntries(
  [...Object.getOwnPropertyNames(globalThis), '__dirname', '__filename'].map((name) => [
    name,
    'readonly',
  ]),
);

export default defineConfig(
  {
    name: 'vhost-net/ignored',
    // test/types holds programs that must not compile; what is in test/package is other projects.
    ignores: [
      'dist/',
      'out/',
      'build/',
      'build-cmake/',
      'docs/api/',
      'test/types/',
      'test/package/*/',
    ],
  },
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
  },
  {
    name: 'vhost-net/javascript',
    files: ['**/*.{js,cjs,mjs}'],
    extends: [eslint.configs.recommended],
    languageOptions: { globals: nodeGlobals },
    rules: { eqeqeq: 'error', 'prefer-const': 'error', 'no-var': 'error' },
  },
  {
    name: 'vhost-net/commonjs',
    files: ['**/*.{js,cjs}'],
    languageOptions: { sourceType: 'commonjs' },
  },
  {
    name: 'vhost-net/typescript',
    files: ['{lib,test,scripts,examples}/**/*.ts'],
    extends: [
      eslint.configs.recommended,
      tseslint.configs.strictTypeChecked,
      tseslint.configs.stylisticTypeChecked,
    ],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      eqeqeq: 'error',
      'no-restricted-globals': ['error', ATOMICS],
      'no-restricted-syntax': ['error', EXPORTED_ENUM],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
    },
  },
  {
    name: 'vhost-net/lib',
    files: ['lib/*.ts'],
    rules: {
      'no-restricted-imports': restrictedImports([]),
    },
  },
  {
    name: 'vhost-net/the binary',
    files: ['lib/native.ts'],
    rules: { 'no-restricted-imports': 'off' },
  },
  ...zones,
  {
    name: 'vhost-net/barriers',
    // The library's one place for them, and the test whose other side is a thread of ours.
    files: ['lib/memory/ordering.ts', 'test/unit/memory/ordering.*.ts'],
    rules: { 'no-restricted-globals': 'off' },
  },
  {
    name: 'vhost-net/tests',
    files: ['test/**/*.ts'],
    rules: {
      // assert.throws(() => port.close()) is how a refusal is tested; nobody reads what it returns.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
    },
  },
  {
    name: 'vhost-net/fuzzer',
    // It is there to do what nobody should: values of any kind, methods on strangers.
    files: ['test/unit/native/{any-value,fuzz.program}.ts'],
    rules: {
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/no-extraneous-class': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    name: 'vhost-net/size',
    files: ['{lib,scripts}/**/*.{ts,js,mjs}'],
    rules: { 'max-lines': ['error', 400] },
  },
);
