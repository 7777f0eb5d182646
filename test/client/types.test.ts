import { expectTypeOf, it } from "vitest";
import type * as client from "../../src/client/index.js";
import type * as server from "../../src/log/index.js";

it("the client's types are the server's, in both directions", () => {
  expectTypeOf<client.PushResult>().toExtend<server.PushResult>();
  expectTypeOf<server.PushResult>().toExtend<client.PushResult>();
  expectTypeOf<client.Change>().toExtend<server.Change>();
  expectTypeOf<server.Change>().toExtend<client.Change>();
  expectTypeOf<client.Call>().toExtend<server.Call>();
  expectTypeOf<server.Call>().toExtend<client.Call>();
  expectTypeOf<client.PulledChange>().toExtend<server.PulledChange>();
  expectTypeOf<server.PulledChange>().toExtend<client.PulledChange>();
  expectTypeOf<client.PullAnswer>().toExtend<server.PullAnswer>();
  expectTypeOf<server.PullAnswer>().toExtend<client.PullAnswer>();
  expectTypeOf<client.SnapshotAnswer>().toExtend<server.SnapshotAnswer>();
  expectTypeOf<server.SnapshotAnswer>().toExtend<client.SnapshotAnswer>();
  expectTypeOf<client.FollowEvent>().toExtend<server.FollowEvent>();
  expectTypeOf<server.FollowEvent>().toExtend<client.FollowEvent>();
});
