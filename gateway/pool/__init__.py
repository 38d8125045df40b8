"""Verification by other processes: gateways send windows over NATS, `callscreen verifier` processes score them.

    gateway: `verification` ── `scorer`: backlog, jobs in flight ────┐
    gateway: …                                                       ├──> stream of jobs, in memory ──> `worker`
    gateway: … <── answers, to that gateway alone ───────────────────┴──────────────────────────────── `worker`

Verifiers pull jobs when they are free. A job that no verifier pulls in time expires, and its leg goes on with the light
model. Verifiers announce themselves (`roster`), so that a gateway knows whether the pool can score its windows.
"""
