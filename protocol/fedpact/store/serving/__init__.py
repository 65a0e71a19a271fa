"""A store offered to others: `server` is the trustless gateway, `request` what it is asked for.

`admission` says who may read and signs for those who ask, `connection` ends what is held open for nothing.
"""
