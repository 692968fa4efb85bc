// The reference page: /openapi.json as Swagger UI shows it, with names filled in that this very server knows, so that "Execute"
// answers at the first try. Nothing is asked of anybody else: no validator, no fonts.

const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();

const json = async (path) => {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
};

/** Names that are on this server; what is not there yet stays as the document has it. */
async function samples() {
  const meta = await json(`/graphql?query=${encodeURIComponent('{ _meta { chainId } }')}`);
  const chainId = Number(meta.data._meta.chainId);
  const [pools, swaps] = await Promise.all(['pools', 'swaps'].map((list) => json(`/v1/${chainId}/${list}?limit=1`)));
  const [pool, swap] = [pools.data[0], swaps.data[0]];
  const body = { pool: pool?.id, tokenIn: pool?.token0.address, tokenOut: pool?.token1.address };
  return { chainId, id: swap?.pool ?? pool?.id, token: pool?.token0.address, account: swap?.origin ?? swap?.recipient, hash: swap?.transactionHash, body };
}

const [spec, names] = await Promise.all([json('/openapi.json'), samples().catch(() => ({}))]);
for (const [path, { get, post }] of Object.entries(spec.paths)) {
  const address = path.includes('/accounts/') ? names.account : names.token;
  for (const parameter of [get, post].flatMap((one) => one?.parameters ?? []).filter((one) => one.in === 'path')) {
    parameter.example = { ...names, address }[parameter.name] ?? parameter.example;
  }
  const content = post?.requestBody.content['application/json'];
  if (content) content.example = JSON.parse(JSON.stringify(content.example), (name, value) => names.body?.[name] ?? value);
}

globalThis.SwaggerUIBundle({
  spec,
  dom_id: '#docs',
  deepLinking: true,
  // Its own validator is a service somewhere else.
  validatorUrl: null,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  defaultModelExpandDepth: 2,
  supportedSubmitMethods: ['get', 'post'],
});
