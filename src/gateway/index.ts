export { loggedError } from "../database/logged-error.js";
export { type Gateway, type GatewayOptions, startGateway } from "./gateway.js";
export { addEngineFigures, addWorkerFigures } from "./process-figures.js";
export { describeGatewaySettings, type GatewaySettings, gatewaySettings } from "./settings.js";
