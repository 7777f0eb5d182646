/**
 * `perch/langgraph`: a checkpoint saver for LangGraph.js. Needs `@langchain/langgraph-checkpoint`, an optional peer of perch.
 * @module
 */
export { PerchSaver, type PerchSaverOptions } from "./saver.js";
