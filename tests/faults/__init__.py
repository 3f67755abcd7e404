"""The proof that the hub is exact under every fault: real processes, real faults, a recorded history, a checker.

python3 dev.py faults --help
"""
