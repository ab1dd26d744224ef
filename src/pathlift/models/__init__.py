"""Models as verbs take them: opened, fed, executed, verified."""
