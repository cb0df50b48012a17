# Starts scripts as their users do, by tsx, instead of by Node's own type stripping, which is faster.
load ../helpers
LOADER=(--import "$REPO/node_modules/tsx/dist/loader.mjs")
