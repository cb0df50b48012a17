#!/usr/bin/env bats
# A rollout behind nginx with a resolver, under a steady load: nobody notices, neither of one that works nor of one that does not.
bats_require_minimum_version 1.5.0

load rollout

setup_file() { app_up nginx; }
