import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "../../database/package-root.js";
import type { Answer } from "../answers.js";

/** Its files, as they come out of the build. */
const folder = join(packageRoot, "dist", "console");

const types: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

/**
 * What the page may do: run the scripts and styles of this server, and ask this server. Nothing written into the page runs, whatever a
 * document holds: there is no inline script or style, no eval, no frame around it and none in it, and no form that could go elsewhere.
 */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

export interface ConsolePage {
  /** The file of a path below /console/; undefined when there is none. */
  file(path: string): Promise<Answer | undefined>;
}

/** The console's page: files without anybody's data, the same for everybody; what it shows it asks for with a token. */
export function createConsolePage(): ConsolePage {
  let files: Promise<ReadonlyMap<string, Answer>> | undefined;

  async function read(): Promise<ReadonlyMap<string, Answer>> {
    const names = await readdir(folder, { recursive: true }).catch(() => []);
    const found = new Map<string, Answer>();
    for (const name of names) {
      const type = types[name.split(".").at(-1) ?? ""];
      if (type === undefined) continue;
      const body = await readFile(join(folder, name), "utf8");
      const path = name.replaceAll("\\", "/");
      found.set(path === "index.html" ? "" : path, { status: 200, body, headers: headersOf(path, type, body) });
    }
    return found;
  }

  return {
    async file(path) {
      files ??= read();
      return (await files).get(path);
    },
  };
}

function headersOf(path: string, type: string, body: string): Record<string, string> {
  return {
    "content-type": type,
    etag: `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`,
    // The names of assets are made of what is in them.
    "cache-control": path.startsWith("assets/") ? "public, max-age=31536000, immutable" : "no-cache",
    "content-security-policy": policy,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
  };
}
