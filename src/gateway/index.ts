export { type Gateway, type GatewayOptions, startGateway } from "./gateway.js";
export { loggedError } from "./log.js";
export { addEngineFigures, addWorkerFigures } from "./process-figures.js";
export { describeGatewaySettings, type GatewaySettings, gatewaySettings } from "./settings.js";
