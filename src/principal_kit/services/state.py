def running(kind, attach):
    return None
