// A step of the build: a migrated database beside the compiled code, from which embedded databases and those of tests begin.
import { prepareTemplate } from "../dist/database/template.js";

await prepareTemplate();
