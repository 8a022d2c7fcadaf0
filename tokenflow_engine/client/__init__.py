"""The room that Blender and the engine share: request, errors, progress, protocol, connection.

Standard library only; neither bpy nor torch is ever imported here.
"""
