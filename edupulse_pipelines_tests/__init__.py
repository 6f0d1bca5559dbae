"""Tests of EduPulse pipelines; the folders mirror the rooms of the package."""
