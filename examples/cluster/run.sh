#!/bin/bash
# Two nodes with NATS between them: a message published on one arrives on the other. Run it in the repository's root
# after `cargo build --release --workspace`. It needs nats-server, which Debian has as a package.
PATH=${BIN:-target/release}:$PATH:/usr/sbin NATS=${NATS:-4222} ONE=${ONE:-8081} TWO=${TWO:-8082}
trap 'kill $(jobs -p)' EXIT
nats-server --addr 127.0.0.1 --port "$NATS" --log /dev/null &
for port in "$ONE" "$TWO"; do lhttpd --listen "127.0.0.1:$port" --cores 1 --nats "127.0.0.1:$NATS" --log warn & done
for port in "$ONE" "$TWO"; do until lhttpd --health "http://127.0.0.1:$port/healthz" 2>/dev/null; do sleep 0.1; done; done
lhttp "ws://127.0.0.1:$TWO" sub room --count 1 --timeout 20s & subscriber=$!
while kill -0 "$subscriber" 2>/dev/null; do lhttp "ws://127.0.0.1:$ONE" pub room "hello from $ONE"; sleep 0.2; done
wait "$subscriber"
