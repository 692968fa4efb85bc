// Rebuilds BatchCall.hex and TokenProbe.hex. Needs only node and npm: `node contracts/build.mjs` (add `--check` to compare instead of writing).
// The compiler is pinned, so the same source gives the same bytes. It is taken from SWAPTIDE_PARTS (a folder that holds
// node_modules) where that is set, else installed into a temporary folder.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const SOLC = "0.8.37";
const CONTRACTS = ["BatchCall", "TokenProbe"];
const here = dirname(fileURLToPath(import.meta.url));
const work = mkdtempSync(join(tmpdir(), "swaptide-solc-"));
try {
  const parts = process.env.SWAPTIDE_PARTS ?? work;
  writeFileSync(join(work, "package.json"), JSON.stringify({ private: true }));
  if (parts === work) execFileSync("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", `solc@${SOLC}`], { cwd: work, stdio: ["ignore", "ignore", "inherit"] });
  const solc = createRequire(join(parts, "package.json"))("solc");
  if (!solc.version().startsWith(SOLC)) throw new Error(`solc ${SOLC} is needed, ${parts} has ${solc.version()}`);
  for (const name of CONTRACTS) {
    const source = `${name}.sol`;
    const input = {
      language: "Solidity",
      sources: { [source]: { content: readFileSync(join(here, source), "utf8") } },
      settings: {
        // london: no PUSH0, so that it also runs on chains that lag behind the forks.
        evmVersion: "london",
        optimizer: { enabled: true, runs: 1 },
        metadata: { bytecodeHash: "none", appendCBOR: false },
        outputSelection: { "*": { "*": ["evm.bytecode.object"] } },
      },
    };
    const output = JSON.parse(solc.compile(JSON.stringify(input)));
    const errors = (output.errors ?? []).filter((e) => e.severity === "error");
    if (errors.length > 0) throw new Error(errors.map((e) => e.formattedMessage).join("\n"));
    const hex = output.contracts[source][name].evm.bytecode.object + "\n";
    const file = join(here, `${name}.hex`);
    if (process.argv.includes("--check")) {
      if (readFileSync(file, "utf8") !== hex) throw new Error(`${name}.hex is not what ${source} compiles to: run \`node contracts/build.mjs\``);
    } else {
      writeFileSync(file, hex);
    }
    console.log(`${name}: ${(hex.length - 1) / 2} bytes with solc ${solc.version()}`);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
