"""How well smoke and carbon-monoxide alarms are recognised."""
