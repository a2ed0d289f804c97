"""Hardware units in Amaranth, each with a golden model, a cycle contract and a regression.

A unit is two files in the folder of its family: ``NAME_model.py`` says what it is without a hardware library
(parameters, ports, golden model, cycle contract, stimulus, coverage goals; simulator and mapper read these), and
``NAME.py`` holds the Amaranth component.
"""
