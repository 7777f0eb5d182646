export { type Context, enterContext, type WithContextOptions, withContext } from "./context.js";
