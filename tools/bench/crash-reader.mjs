// A subscriber with the JavaScript SDK, for `lhttp-bench crash`: it prints each message as "<channel> <text>", and
// "gap <channel>" where the SDK says that some are missing. It ends with its stdin.
import { pathToFileURL } from "node:url";

const [sdk, url, ...channels] = process.argv.slice(2);
const { connect } = await import(pathToFileURL(sdk));
const lhttp = connect(url, { backoff: { initial: 10, max: 200 } });
lhttp.on("error", (error) => console.error(`${error.code} ${error.reason} ${error.message}`));
for (const channel of channels) {
  const room = await lhttp.subscribe(channel, (message) => console.log(`${channel} ${message.text()}`));
  room.on("gap", () => console.log(`gap ${channel}`));
}
console.log("ready");
process.stdin.on("end", () => process.exit(0)).resume();
