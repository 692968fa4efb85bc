// Builds the page into dist/page: node page/build.mjs; with --serve it also serves it, and builds it anew for each reload.
import { cp, mkdir } from "node:fs/promises";
import { context } from "esbuild";

const outdir = "dist/page";
await mkdir(outdir, { recursive: true });
for (const file of ["index.html", "styles.css"]) await cp(`page/${file}`, `${outdir}/${file}`);
const page = await context({
  entryPoints: ["page/main.tsx"],
  outdir,
  bundle: true,
  minify: true,
  jsx: "automatic",
  target: "es2023",
  define: { "process.env.NODE_ENV": '"production"' },
});
await page.rebuild();
if (process.argv.includes("--serve")) {
  const { port } = await page.serve({ servedir: outdir, host: "127.0.0.1", port: 5173 });
  console.log(`http://127.0.0.1:${port}/?api=http://127.0.0.1:8080`);
} else {
  await page.dispose();
}
