"""The demonstration: a throw-away engine and registry, sockwarden in front, the documented transcripts.

The integration tests use the same throw-away parts. Nothing here may touch an engine that runs already.
"""
