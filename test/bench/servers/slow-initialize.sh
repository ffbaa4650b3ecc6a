#!/bin/sh
# Takes 300 ms to answer initialize, and hardly any processor: ten of these show whether they are started side by side,
# where ten runtimes of a language would show how many processors the machine has.
read -r _ || exit 0
sleep 0.3
printf '%s\n' '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"slow","version":"1"}}}'
while read -r _; do :; done
