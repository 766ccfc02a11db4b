"""Floor 0: small tools that know nothing of generators. Imports nothing from the floors above."""
