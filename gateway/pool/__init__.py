"""Verification by other processes: gateways send windows over NATS, `callscreen verifier` processes score them.

    gateway: `verification` ── `scorer`: its backlog, what is under way ──┐
    gateway: …                                                            ├──> stream of jobs, in memory ──> `worker`
    gateway: … <── answers, to that gateway alone ────────────────────────┴───────────────────────────────── `worker`

Verifiers take a job when they are free; a job that nobody takes in time is gone, and its leg goes on with the light
model. What verifiers say of themselves (`roster`) tells a gateway whether there is anybody to ask.
"""
