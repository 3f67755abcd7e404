import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { defineConfig, type Plugin } from "vite";

const CLIENTS = join(import.meta.dirname, "..");
const SOURCES = [
  "package-lock.json",
  "typescript/src",
  "web/index.html",
  "web/public",
  "web/src",
  "web/vite.config.ts",
];

/** Every source file of the bundle, as a path relative to `clients/`, sorted. */
function sourceFiles(): string[] {
  const files = SOURCES.flatMap((source) => {
    const path = join(CLIENTS, source);
    if (source.includes(".")) return [path];
    return readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  });
  return files.map((file) => relative(CLIENTS, file)).sort();
}

/** Writes into the page what it was built from, so that a test can tell a stale bundle without building it. */
function sourceDigest(): Plugin {
  return {
    name: "source-digest",
    apply: "build",
    transformIndexHtml: () => {
      const digest = createHash("sha256");
      for (const file of sourceFiles()) {
        digest
          .update(file)
          .update("\0")
          .update(readFileSync(join(CLIENTS, file)))
          .update("\0");
      }
      return [{ tag: "meta", attrs: { name: "source-digest", content: digest.digest("hex") }, injectTo: "head" }];
    },
  };
}

export default defineConfig({
  base: "/",
  plugins: [sourceDigest()],
  resolve: { conditions: ["source", "module", "browser", "production"] },
  build: {
    outDir: join(CLIENTS, "../hub/static/web"),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    license: { fileName: "licenses.md" },
  },
  server: {
    proxy: { "/v1": { target: process.env["HUB_URL"] ?? "http://127.0.0.1:8000", ws: true } },
  },
});
