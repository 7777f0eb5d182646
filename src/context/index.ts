export { type Context, enterContext, withContext } from "./context.js";
