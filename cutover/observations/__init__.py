"""What probes saw: immutable, timestamped facts, one module a subject.

A probe returns them, the ledger keeps them, evidence is made of them. They hold what was seen, not what it
means: classes, limits and verdicts are the checks' work, so that an old ledger can be judged anew.
"""
