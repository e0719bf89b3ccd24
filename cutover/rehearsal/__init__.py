"""The incident, played in a sandbox on this machine with the tool's real commands.

Everything that a cutover touches runs here on loopback: name servers and caching resolvers
(:mod:`~cutover.rehearsal.nameserver`, :mod:`~cutover.rehearsal.resolver`), the two deployments over HTTPS
(:mod:`~cutover.rehearsal.origin`), Route 53 and CloudTrail (:mod:`~cutover.rehearsal.cloud`), an embedded Postgres
(:mod:`~cutover.rehearsal.postgres`) and the users (:mod:`~cutover.rehearsal.users`). The stories are
:mod:`~cutover.rehearsal.incident` and :mod:`~cutover.rehearsal.careful`.
"""
