"""Drivers: registered and changed by customers, verified by the provider.

Promises: `ovnDriverId` is unique among a wallet's existing drivers; only verified drivers are paid; bank details are
encrypted until they are sent, then discarded. Owns the table `drivers`, except its payout counters
(`shared.payouts.counters`). Locks driver rows only, in order of id.
"""
