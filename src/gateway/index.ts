export { type Gateway, type GatewayOptions, startGateway } from "./gateway.js";
export {
  describeGatewaySettings,
  type GatewaySettings,
  gatewaySettings,
  type SettingDescription,
} from "./settings.js";
