"""A data platform's parts: events and their contract, topics, Flink jobs, tables, the pipeline they make together.

Addresses are arguments here: `principal_kit.services` starts the servers, and what they run is in this folder.
"""
