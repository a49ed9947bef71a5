// Asks the local LaunchDarkly for an AI Config, as a Node program does, and records a run.
import { init } from "@launchdarkly/node-server-sdk";
import { initAi } from "@launchdarkly/server-sdk-ai";

const url = process.argv[2];
const client = init("sdk-dev", { baseUri: url, streamUri: url, eventsUri: url });
await client.waitForInitialization({ timeout: 20 });
const context = { kind: "user", key: "user-1", name: "Sandy", plan: "enterprise" };
const config = await initAi(client).completionConfig("support-bot", context, { enabled: false }, { product: "the kettle" });
const { tracker } = config;
tracker.trackDuration(120);
tracker.trackTokens({ total: 17, input: 14, output: 3 });
tracker.trackSuccess();
await client.flush();
await client.close();
console.log(JSON.stringify({ enabled: config.enabled, model: config.model.name, messages: config.messages }));
