import type { Identity } from "../../identity/identity.js";
import type { Counts } from "../../lib/counts.js";
import type { Exchange } from "../exchange.js";
import { hasGone } from "../gone.js";
import { addressOfClient } from "../requests.js";
import type { HttpSettings } from "../settings.js";

/** Places of streams among the connections of the node, of an address and of a user. */
export interface StreamPlaces {
  /** Out: of which address it is, for when it is given back; undefined: there is none. */
  take(exchange: Exchange, identity: Identity): string | undefined;
  give(address: string, identity: Identity): void;
}

export function createStreamPlaces(
  settings: Pick<HttpSettings, "maxStreams" | "trustProxy">,
  addresses: Counts,
  users: Counts,
): StreamPlaces {
  let streams = 0;
  return {
    take({ request, response }, { userId }) {
      const address = addressOfClient(request, settings);
      // Whoever has gone would never give it back.
      if (hasGone(response) || streams >= settings.maxStreams || !addresses.take(address)) return undefined;
      if (!users.take(userId)) {
        addresses.give(address);
        return undefined;
      }
      streams += 1;
      return address;
    },
    give(address, { userId }) {
      streams -= 1;
      addresses.give(address);
      users.give(userId);
    },
  };
}
