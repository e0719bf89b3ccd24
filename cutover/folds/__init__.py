"""What a stream of observations adds up to, one fold a subject.

A fold takes observations in ledger order and answers questions about the past. Each is bounded by the size of
the plan and the panel, not by the length of the ledger.
"""
