"""Drivers: registered and changed by customers, verified by the provider.

Promises: `ovnDriverId` is unique among a wallet's drivers that are not deleted; a driver can be paid only after the
provider has verified them; bank details are encrypted until they are sent to the provider, then discarded. Owns the
table `drivers`, except its payout counters (`shared.payouts.counters`). Locks driver rows only, in order of id.
"""
