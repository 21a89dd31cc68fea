// Reads the AsyncAPI document named on the command line and prints what the specification's parser objects to.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const WARNING = 1; // 0 is an error; above are hints, such as that a newer version of AsyncAPI exists

const { document, diagnostics } = await new Parser().parse(await readFile(process.argv[2], "utf8"));
const objections = diagnostics.filter(({ severity }) => severity <= WARNING);
for (const { path, message } of objections) {
  console.log(`${path.join(".")}: ${message}`);
}
process.exit(document && objections.length === 0 ? 0 : 1);
