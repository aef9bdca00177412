"""BCDA over HTTP: requests, answers, tokens and limits, each answer within its bounds."""
