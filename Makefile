# Thin: each target calls a script that says what it does. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo demo-down test lint fmt bench soak soak-lead soak-worker docs release image lab-up lab-down lab-status

help:            ## list the targets
	@sed -nE 's/^([a-z-]+): *[a-z-]* *## /\1\t/p' Makefile | expand -t 14

demo:            ## from a commit to running pods, on this machine: a rollout, an update under load, a crash that is rolled back
	@demo/demo.sh

demo-down:       ## end what the demo left running, and remove its folder
	@demo/demo.sh down

test:            ## everything: format, lints, unit tests, tests on a real cluster with real registries and Maven
	@tests/gate/test.sh

lint:            ## format and lints only
	@tests/gate/test.sh format lints scripts

fmt:             ## format the code
	@cargo fmt

bench:           ## the README's figures: start-up, size, peak memory, seconds to a verdict; pushes beside Jib, crane, buildah and docker
	@benches/figures.sh
	@benches/verdicts.sh
	@benches/push.sh

soak:            ## a thousand random interleavings of publish, rollback, scale and kill on the lab's API server (SOAK_ROUNDS, SOAK_SEED)
	@cargo test --locked --test it publish::soak::a_thousand_interleavings -- --ignored --nocapture

soak-lead:       ## five hundred random faults each among replicas that stand for one lead, in the cluster and on ZooKeeper (LEAD_ROUNDS, LEAD_SEED)
	@cargo test --locked --test it hold::soak::never_two_at_once -- --ignored --nocapture

soak-worker:     ## a thousand builds by message, while workers and broker are killed twenty times (WORKER_BUILDS, WORKER_KILLS)
	@cargo test --locked --test it worker::faults::a_thousand_are_done_exactly_once -- --ignored --nocapture

docs:            ## write the generated reference (settings, problems, schema) anew
	@tests/gate/docs.sh

release:         ## the static binary: target/x86_64-unknown-linux-gnu/release/shipway
	@tests/gate/release.sh

image:           ## both container images by Docker, shipway and shipway-maven (BUILD_ARGS: for docker build)
	@tests/gate/image.sh $(BUILD_ARGS)

lab-up:          ## start the real cluster, registries and Gitea that the tests use, and leave them running
	@tests/cluster/lab.sh up

lab-down:        ## stop them and leave nothing
	@tests/cluster/lab.sh down

lab-status:      ## what of the lab runs
	@tests/cluster/lab.sh status
