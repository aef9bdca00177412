class World:
    def __init__(self, **k): pass
