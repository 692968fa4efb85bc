// Compiles demo/contracts/*.sol into artifacts.json with the pinned npm solc. Run it through `cargo xtask contracts`,
// or: SWAPTIDE_PARTS=<folder that holds node_modules> node demo/contracts/build.mjs [--check]
import { createRequire } from 'node:module';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const parts = process.env.SWAPTIDE_PARTS;
if (!parts) throw new Error('set SWAPTIDE_PARTS to the folder that holds node_modules, or run `cargo xtask contracts`');
const solc = createRequire(path.join(path.resolve(parts), 'package.json'))('solc');

const sources = Object.fromEntries(readdirSync(here).filter((f) => f.endsWith('.sol')).sort()
  .map((f) => [f, { content: readFileSync(path.join(here, f), 'utf8') }]));
const out = JSON.parse(solc.compile(JSON.stringify({
  language: 'Solidity',
  sources,
  settings: {
    // paris: no PUSH0, so that every local node runs it. No metadata hash: the bytes depend on the source alone.
    evmVersion: 'paris',
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } },
  },
}), { import: (f) => ({ contents: sources[f]?.content ?? '' }) }));
const errors = (out.errors ?? []).filter((e) => e.severity === 'error');
if (errors.length) { for (const e of errors) console.error(e.formattedMessage); process.exit(1); }

const artifacts = {};
for (const file of Object.keys(out.contracts).sort())
  for (const [name, c] of Object.entries(out.contracts[file]))
    artifacts[name] = { abi: c.abi, bytecode: `0x${c.evm.bytecode.object}` };
const lines = Object.entries(artifacts).sort(([a], [b]) => (a < b ? -1 : 1)).map(([n, a]) => `  ${JSON.stringify(n)}: ${JSON.stringify(a)}`);
const text = `{\n${lines.join(',\n')}\n}\n`;
const target = path.join(here, 'artifacts.json');
if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== text) { console.error('demo/contracts/artifacts.json is not what its sources compile to: run `cargo xtask contracts`'); process.exit(1); }
} else {
  writeFileSync(target, text);
  console.log(`${Object.keys(artifacts).length} contracts -> demo/contracts/artifacts.json (${solc.version()})`);
}
