"""The command line: ``nnjax train``, ``evaluate``, ``summary`` and ``devices``."""
